"""The coordinator: roster, rounds, release. Never sees a case, never imports the client."""
