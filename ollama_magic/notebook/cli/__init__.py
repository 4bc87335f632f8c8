"""The command line of the magics: options, subcommands and help."""
