#!/bin/sh
# Started by /opt/bootstrap of the layer, with PORT set.
exec node server.mjs
