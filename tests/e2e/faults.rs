//! Under each scripted fault the gateway comes back by itself.
