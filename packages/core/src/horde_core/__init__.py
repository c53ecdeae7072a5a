"""The language that SDK, facilitator and executor share: values and decisions, no I/O."""
