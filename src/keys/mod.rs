//! Customer keys: ARN, key policy, verification probes.
