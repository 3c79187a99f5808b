"""One scripted fitting against real parts: a server process, a fitter, a phone, aids that can be heard."""
