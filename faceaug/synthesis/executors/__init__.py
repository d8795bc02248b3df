"""Where blocks of attempts are computed: threads, other machines by Ray, or shares over a common folder."""
