"""The services: catalog, realtime, extraction. Strangers to each other; they meet in `featurestore.model.peers`."""
