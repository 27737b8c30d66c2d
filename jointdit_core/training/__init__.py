"""Joint conditional flow matching: sigma sampling, the loss, cached worlds and one resumable loop."""
