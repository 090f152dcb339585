//! Data systems: inventory, re-keying, cut-over, purge ledger.
