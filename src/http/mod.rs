//! HTTP: the operators' API.
