//! The SDK clients: credentials, partitions, endpoints, timeouts, retry.
