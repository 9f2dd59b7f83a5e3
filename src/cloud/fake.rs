//! An in-memory cloud for tests of controllers.
