"""One module a table: `measure` runs it and says what it found."""
