"""The data's way in: sources, fingerprints, the pool, roles and splits, thinning, and the demo.

sources.py      SRC -> SourceRecords (folder, file, Hub, demo)
fingerprint.py  a picture's identity and perceptual hash
ingest.py       SourceRecords -> the pool, every row counted
pool.py         append-only, content-addressed
split.py        roles, the closed test split, a cycle's memberships
thin.py         fewer records without losing the mixture
"""
