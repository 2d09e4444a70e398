"""The coordinator: roster, rounds, checkpoint, release. Never sees a case, never imports the client."""
