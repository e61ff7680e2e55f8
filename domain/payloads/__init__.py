"""The models of ``data``, one module a category; `domain.catalog` has them all by event type."""
