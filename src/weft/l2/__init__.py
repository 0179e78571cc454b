"""Segments made true, by one of several datapaths that all answer the same seam (weft.l2.datapath)."""
