"""What everything stands on and what knows nothing of momentum: errors, random streams, threads, progress, files, SIMD."""
