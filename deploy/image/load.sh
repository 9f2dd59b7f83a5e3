#!/bin/sh
# Loads the packed image into the first of docker, podman and buildah that works here; without any, the OCI layout has to do.
# usage: load.sh IMAGE.TAR
set -eu
if docker info > /dev/null 2>&1; then
  exec docker load --input "$1"
elif podman info > /dev/null 2>&1; then
  exec podman load --input "$1"
elif buildah info > /dev/null 2>&1; then
  exec buildah pull "docker-archive:$1"
fi
echo "no docker, podman or buildah that works: the image is the OCI layout ${1%.tar}"
