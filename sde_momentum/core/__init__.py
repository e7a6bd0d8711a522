"""General tools that know nothing of momentum: errors, options, random streams, threads, progress, files, SIMD."""
