"""Run the implementation of an operation: an Ansible play, a provider call, an image build, an OSCAR request."""
