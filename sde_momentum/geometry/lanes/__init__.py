"""Gamma for many runs at once in machine code: lanes of one run each, so that a step is a few products of small matrices.

eigenbasis  the eigenvectors of J J^T, followed while w moves
cholesky    inverses of J J^T
pairs       the covariance of pairs of normal modes under general noise, without eigenvectors
manifold    `Place`: w with Gamma's normal space; moves along Gamma and projections onto its tangent space

A block has a multiple of `WIDTH` lanes. A matrix (m, n) of each lane is the rows i n + j of an array (m n, lanes). No number of
a lane depends on the others: a lane that needs no further iteration is left as it is, bit for bit, while others go on.
"""
