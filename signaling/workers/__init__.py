"""Several processes of one server on one machine: who starts them, starts them anew, and ends them."""
