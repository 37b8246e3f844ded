"""The release of Kubernetes that it takes itself for, in a file of its own that can be packed with another."""

KUBERNETES_VERSION = "v1.31.5"
