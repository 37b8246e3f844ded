"""The TOSCA side: what a service template says, its types, and how it is written and checked."""
