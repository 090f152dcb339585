//! Mail: templates and the delivery of the outbox.
