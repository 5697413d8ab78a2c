//! One suite a port; every back end runs it.
