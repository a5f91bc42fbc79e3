"""A real model on llama.cpp."""
# timeout: 280
# serial
from model import *

run("llama", 1, "llama.cpp/")
