"""Deployment orchestrator for AI applications that span edge and cloud."""

__version__ = "0.1.0"
