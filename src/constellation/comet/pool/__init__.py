"""Which instance serves which call: the table in C decides, `pool` carries it out, `wording` says what was refused."""
