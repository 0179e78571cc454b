"""Intent + endpoints + facts + a node's name → that node's plan. Pure; one module per part."""
