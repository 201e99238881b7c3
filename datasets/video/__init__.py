"""What the video data sets share: frames on disk, sprite sheets, moving digits, signals."""
