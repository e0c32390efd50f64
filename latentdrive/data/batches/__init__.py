"""From clips, scenes and labels to training batches: windows, scene cutting, augmentation."""
