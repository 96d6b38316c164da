//! What heads are taken and refused.
