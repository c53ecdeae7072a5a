"""Alembic's entry: the migrations run on the connection that `__main__` hands over."""

from alembic import context

from horde_facilitator.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
