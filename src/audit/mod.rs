//! The audit: scan, deviations, report.
