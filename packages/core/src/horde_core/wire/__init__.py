"""Messages of the client API (`client`) and of the executor API (`executor`), version 1."""
