//! Integration tests: a file per behaviour.
