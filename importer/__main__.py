"""`python -m importer`. Floor: above everything."""

from importer.cli import main

if __name__ == "__main__":
    main()
