//! Fitting values to fields.
