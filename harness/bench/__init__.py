"""The same work by the bare loop, by what people use today and by harness: `harness bench`."""
