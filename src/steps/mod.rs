//! The steps that the shipped definitions name: one file a step.
