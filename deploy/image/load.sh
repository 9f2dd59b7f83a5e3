#!/bin/sh
# Loads the packed image into the first of docker, podman and buildah that works here; without any, the OCI layout has to do.
# usage: load.sh IMAGE.TAR
set -eu
works() { command -v "$1" > /dev/null && "$1" info > /dev/null 2>&1; }
if works docker && docker load --input "$1"; then exit; fi
if works podman && podman load --input "$1"; then exit; fi
if works buildah && buildah pull "docker-archive:$1"; then exit; fi
echo "no docker, podman or buildah that works: the image is the OCI layout ${1%.tar}"
