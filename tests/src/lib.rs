//! The laboratory in which the black-box tests run.
