"""Put something else in the place of the wire, so that the gateway hears nothing, and burn."""

import os


def attempt():
    reader, writer = os.pipe()
    os.dup2(writer, 3)
    while True:
        pass
