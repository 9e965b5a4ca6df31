//! What makes processes, and what all chapters share.
