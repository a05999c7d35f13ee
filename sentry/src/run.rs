//! Runs tasks: from an event to a handler to a reply.
