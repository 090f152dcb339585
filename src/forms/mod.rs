//! Forms: schema, roles, validation of what people answer.
