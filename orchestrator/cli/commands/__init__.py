"""One module a command: ``configure(parser)`` declares its arguments, ``run(args, console)`` returns the exit code."""
