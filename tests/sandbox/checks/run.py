"""Asks the checks of the modules named (all of them when none is), and prints how many are answered as AWS documents.

SANDBOX_URL names the emulator; a sandbox has to run with --speed 600 or more, so that minutes are moments. STRICT also
holds every element of RDS's answers against AWS's model.
"""

import importlib
import sys

import frame

MODULES = ["kms_keys", "kms_crypto", "kms_access", "kms_import", "sts", "rds_instances", "rds_snapshots", "rds_clusters", "rds_account"]

for module in sys.argv[1:] or MODULES:
    importlib.import_module(module)
frame.conclude()
