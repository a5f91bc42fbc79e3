"""A real model on the integer engine, the default."""
# timeout: 280
# serial
from model import *

run("exact", 2, "exact/1")
